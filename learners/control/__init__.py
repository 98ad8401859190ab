"""Control problems of wireless networks as learning tasks: rates, references, draws of channels."""
