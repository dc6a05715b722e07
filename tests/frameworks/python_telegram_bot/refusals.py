"""Prints what the adapter answers to applications that cannot be carried over. Runs in the package's environment."""
# pyright: basic, reportMissingImports=false

from typing import Any

from telegram.ext import (
    Application,
    CommandHandler,
    ContextTypes,
    ConversationHandler,
    DictPersistence,
)

from neverblink.worker.adapters.python_telegram_bot import TelegramBotError, run


async def start(update: object, context: object) -> None: ...


def builder() -> Any:
    return Application.builder().token("42:token")


class Wallet(dict): ...


not_waiting = builder().build()
not_waiting.add_handler(CommandHandler("start", start, block=False))
timed = builder().build()
timed.add_handler(ConversationHandler([CommandHandler("start", start)], {}, [], conversation_timeout=5))
for app in (
    builder().persistence(DictPersistence()).build(),
    builder().arbitrary_callback_data(True).build(),
    builder().context_types(ContextTypes(chat_data=Wallet)).build(),
    not_waiting,
    timed,
):
    try:
        run(app)
    except TelegramBotError as problem:
        print(problem.message)
    else:
        print("accepted")
