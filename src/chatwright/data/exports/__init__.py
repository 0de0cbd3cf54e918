"""Exports of people's own chats: one file a program, recognised from the file itself."""

SHARED = ("export",)
