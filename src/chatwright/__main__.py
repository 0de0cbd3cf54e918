"""`python -m chatwright` is `chatwright`, so that `torchrun -m chatwright` works."""

from chatwright.commands import main

if __name__ == "__main__":
    main()
