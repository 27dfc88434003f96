"""python -m dlcodec"""

from dlcodec.cli import main

if __name__ == "__main__":
    main()
