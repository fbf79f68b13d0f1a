"""The scheduler: starts refreshes and trainings at set times or after so many new events, one at a time."""
