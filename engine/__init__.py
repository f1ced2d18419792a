"""The engine: configuration, plan, runs, supervisor, monitor, diagnosis; torch only under `training`."""
