"""Speed and accuracy, measured by commands that anybody can run."""
