"""Run the command line with ``python -m scoped_secrets``."""

from scoped_secrets.cli.main import main

if __name__ == "__main__":
    main()
