"""A server of desktop notifications: prints `ready`, then each title and text as one line."""

import sys

from jeepney import HeaderFields, MessageType, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

connection = open_dbus_connection(sys.argv[1])
connection.send_and_get_reply(message_bus.RequestName("org.freedesktop.Notifications"))
print("ready", flush=True)
while True:
    message = connection.receive()
    if message.header.message_type != MessageType.method_call:
        continue
    if message.header.fields.get(HeaderFields.member) == "Notify":
        print(f"{message.body[3]}: {message.body[4]}", flush=True)
        connection.send(new_method_return(message, "u", (1,)))
