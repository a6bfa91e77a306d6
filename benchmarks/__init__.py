"""How fast and how frugal the connector is, compared with the published one in the same run."""
