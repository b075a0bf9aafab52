"""edgeq inside other tools of a project: pytest, pre-commit and GitHub Actions."""
