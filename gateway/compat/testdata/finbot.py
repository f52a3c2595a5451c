"""A chat bot of the shape that the older chat's was: an aiohttp program that
logs in, waits for the greeting, lists the rooms, joins them and answers. It
knows nothing of Crier. Settings are environment variables; each line it prints
is what it has done."""

import asyncio
import os
import sys

import aiohttp

HOST = os.environ["FINBOT_HOST"]
USERNAME = os.environ["FINBOT_USERNAME"]
PASSWORD = os.environ["FINBOT_PASSWORD"]
ROOMS = [r for r in os.environ.get("FINBOT_ROOMS", "").split(":") if r]


def said(*words):
    print(*words, flush=True)


async def log_in(session):
    async with session.post(f"http://{HOST}/login", json={"username": USERNAME, "password": PASSWORD}) as response:
        if response.status != 200:
            sys.exit(f"login: {response.status}")
        return (await response.json())["token"]


async def converse(session, token):
    async with session.ws_connect(f"ws://{HOST}/ws/chat/", headers={"Authorization": f"Token {token}"}) as socket:
        async for message in socket:
            if message.type != aiohttp.WSMsgType.TEXT:
                break
            event = message.json()
            kind, code = event["type"], event["code"]
            if kind == "fatal":
                sys.exit(f"fatal: {code}")
            if kind == "notification" and code == "api-motd":
                said("greeted")
                await socket.send_json({"type": "list"})
            elif kind == "notification" and code == "list":
                for room in event["list"]:
                    if not room["joined"] and (not ROOMS or room["name"] in ROOMS):
                        await socket.send_json({"type": "join", "room_name": room["name"]})
            elif kind == "notification" and code == "logged-out":
                said("logged out")
                return
            elif kind == "room:notification" and code == "joined" and event["you"]:
                said("joined", event["room_name"], len(event["status"]["users"]))
            elif kind == "room:notification" and code == "custom" and not event["you"] and event["command"] == "stock":
                symbol = event["payload"].upper()
                await socket.send_json({"type": "message", "room_name": event["room_name"], "body": f"{symbol} quote is $93.42 per share"})
            elif kind == "error":
                said("error", code)


async def main():
    async with aiohttp.ClientSession() as session:
        await converse(session, await log_in(session))


asyncio.run(main())
