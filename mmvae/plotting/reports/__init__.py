"""Reports: pages of figures and tables, of one run and of several models."""
