"""Apply carries out a plan's steps, and no others, through the `Host` port."""
