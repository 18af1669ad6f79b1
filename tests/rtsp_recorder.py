"""An RTSP server over TLS that takes what one publisher pushes: Debian's gst-rtsp-server, under the system's Python.

    /usr/bin/python3 rtsp_recorder.py PORT certificate.pem key.pem

Prints `ready`, and a line for every picture, with its time in milliseconds.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtspServer  # noqa: E402


def take(_sink, buffer, _pad):
    sys.stdout.write(f"{buffer.pts // Gst.MSECOND}\n")
    sys.stdout.flush()


def prepared(_factory, media):
    media.get_element().get_by_name("pictures").connect("handoff", take)


Gst.init(None)
port, certificate, key = sys.argv[1:]
server, auth = GstRtspServer.RTSPServer(), GstRtspServer.RTSPAuth()
server.set_address("127.0.0.1")
server.set_service(port)
token = GstRtspServer.RTSPToken()
token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "publisher")
auth.set_default_token(token)
auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(certificate, key))
server.set_auth(auth)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
factory.set_launch("( rtph264depay name=depay0 ! h264parse ! fakesink name=pictures signal-handoffs=true sync=false )")
factory.add_role_from_structure(
    Gst.Structure.from_string("publisher, media.factory.access=true, media.factory.construct=true")[0]
)
factory.connect("media-configure", prepared)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
sys.stdout.write("ready\n")
sys.stdout.flush()
GLib.MainLoop().run()
