"""What several sources read by: formats of containers (a position in, raw clips out) and of tables, held-out clips, a
download site.
"""
