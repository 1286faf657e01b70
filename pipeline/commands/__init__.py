"""One command, one file: plan, tell, act. Each does its work through `utils`, and none reads a source."""
