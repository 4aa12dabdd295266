"""Apply executes a plan's steps through the `Host` port: in parallel where the graph allows, and no others."""
