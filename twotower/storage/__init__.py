"""Object storage: uploads what an artifact folder publishes, and downloads it into the folder of another machine."""
