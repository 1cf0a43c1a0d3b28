"""What makes ``report.html``."""
