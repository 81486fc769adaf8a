"""The figures of reports and notebooks: curves, kept sites, how good a result is, how sure each site is."""
