"""One command, one file: plan, tell, act. None knows another."""
