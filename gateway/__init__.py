"""The REST gateway: the one door of the system, in front of the three services and Redis."""
