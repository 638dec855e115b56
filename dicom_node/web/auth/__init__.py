"""Who may: accounts, roles, logins, API tokens, and the trail of what was seen."""
