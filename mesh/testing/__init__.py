"""What a team tests its service with, on every level: docs/testing.md shows each. Imports no test runner, and no product code
imports this room."""
