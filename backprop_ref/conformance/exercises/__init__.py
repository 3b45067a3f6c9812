"""The bugs of the catalogue as programs to be mended."""
