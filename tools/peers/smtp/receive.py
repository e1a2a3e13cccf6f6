"""A mail server for tests, made of aiosmtpd: prints its port, then each mail that it takes as one line of JSON.

usage: receive.py [--starttls | --implicit] [--cert FILE --key FILE] [--login NAME:PASSWORD] [--refuse FILE]
                  [--nobody ADDRESS]

Where the file of --refuse exists, its text is the answer to every recipient, such as "451 later". The one of --nobody is
refused for good. With --login nobody may send a mail without it.
"""
import argparse
import asyncio
import json
import os
import ssl

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    def __init__(self, refuse, nobody):
        self.refuse = refuse
        self.nobody = nobody

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.refuse and os.path.exists(self.refuse):
            with open(self.refuse, encoding="utf-8") as file:
                return file.read().strip()
        if address == self.nobody:
            return "550 5.1.1 there is nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "login": session.auth_data,
            "encrypted": session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None,
            "content": envelope.content.decode("utf-8", "surrogateescape"),
        }
        print(json.dumps(mail), flush=True)
        return "250 OK"


async def main():
    parser = argparse.ArgumentParser()
    for flag in ("--starttls", "--implicit"):
        parser.add_argument(flag, action="store_true")
    for option in ("--cert", "--key", "--login", "--refuse", "--nobody"):
        parser.add_argument(option)
    given = parser.parse_args()
    context = None
    if given.cert:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(given.cert, given.key)

    def authenticate(server, session, envelope, mechanism, data):
        name = f"{data.login.decode()}:{data.password.decode()}"
        return AuthResult(success=name == given.login, handled=False, auth_data=data.login.decode())

    def serve():
        return SMTP(
            Handler(given.refuse, given.nobody),
            hostname="mail.test",
            tls_context=context if given.starttls else None,
            authenticator=authenticate if given.login else None,
            auth_required=bool(given.login),
            auth_require_tls=given.starttls,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(serve, "127.0.0.1", 0, ssl=context if given.implicit else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
