"""Jobs on other machines: manifests and scripts that start one there, checked before they are written."""
