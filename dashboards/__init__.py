"""What people look at: the HTML report and exports to other tools."""
