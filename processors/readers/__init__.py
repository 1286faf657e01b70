"""What several sources read by: container formats (a position in, raw clips out), held-out clips, a download site."""
