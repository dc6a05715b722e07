"""What the command line, the hook and the demo share in drawing."""
