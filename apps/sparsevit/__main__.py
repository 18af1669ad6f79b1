"""`python -m sparsevit`: the command."""

from sparsevit_apps.cli import main

if __name__ == "__main__":
    main()
