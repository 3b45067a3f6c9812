"""``python -m backprop_ref`` is the command ``backprop-ref``."""

from backprop_ref.cli import main

if __name__ == "__main__":
    main()
