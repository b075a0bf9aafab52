"""Devices: this machine, boards over SSH, Android over adb, a virtual board."""
