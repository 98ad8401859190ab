"""Medium access: who is on the air when. One discipline a file, listed in `wsim.mac.registry`."""
