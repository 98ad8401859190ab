"""The part of the build that pyproject.toml cannot say: a wheel holds the scenarios of this folder inside the package."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SCENARIOS = Path("scenarios")


class BuildWithScenarios(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # a checkout has them where they are
            for source, target in self._scenarios().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *([] if self.editable_mode else self._scenarios().values())]

    def _scenarios(self) -> dict[str, str]:
        """Copies in the build folder, by file."""
        target = Path(self.build_lib, "wsim", "packaged_scenarios")
        return {str(path): str(target / path.relative_to(SCENARIOS)) for path in sorted(SCENARIOS.rglob("*.toml"))}


setup(cmdclass={"build_py": BuildWithScenarios})
