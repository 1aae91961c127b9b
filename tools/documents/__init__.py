"""Documents made from the code and deploy/topics.yaml: `python -m tools.documents` writes them, `--check` compares."""
