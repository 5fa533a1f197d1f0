"""Moving the atoms to zero force: loop, files, jobs."""
