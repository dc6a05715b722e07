"""A bot that buys when it is told to, sells half a second later, and reports each second."""

import os

from telegram import Update
from telegram.ext import (
    Application,
    CommandHandler,
    ContextTypes,
    ConversationHandler,
    MessageHandler,
    filters,
)

from neverblink.worker.adapters.python_telegram_bot import run

LIMIT = 0


async def buy(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    order = int(context.args[0])
    positions = context.chat_data.setdefault("positions", {})
    positions[str(order)] = 100.0 + order % 7
    context.bot_data["bought"] = context.bot_data.get("bought", 0) + 1
    context.job_queue.run_once(sell, 0.5, data=order, chat_id=update.effective_chat.id)
    await update.message.reply_text(f"bought {order}")


async def sell(context: ContextTypes.DEFAULT_TYPE) -> None:
    order = context.job.data
    price = context.chat_data["positions"].pop(str(order))
    await context.bot.send_message(context.job.chat_id, f"sold {order} at {price}")


async def report(context: ContextTypes.DEFAULT_TYPE) -> None:
    number = context.bot_data["reports"] = context.bot_data.get("reports", 0) + 1
    bought = context.bot_data.get("bought", 0)
    await context.bot.send_message(os.environ["CHANNEL"], f"report {number} bought {bought}")


async def ask_limit(update: Update, context: ContextTypes.DEFAULT_TYPE) -> int:
    await update.message.reply_text("limit?")
    return LIMIT


async def set_limit(update: Update, context: ContextTypes.DEFAULT_TYPE) -> int:
    context.chat_data["limit"] = int(update.message.text)
    await update.message.reply_text(f"limit {context.chat_data['limit']}")
    return ConversationHandler.END


async def cancel(update: Update, context: ContextTypes.DEFAULT_TYPE) -> int:
    await update.message.reply_text("no limit")
    return ConversationHandler.END


def main() -> None:
    app = Application.builder().token("42:token").base_url(os.environ["TELEGRAM"]).build()
    app.add_handler(CommandHandler("buy", buy))
    app.add_handler(
        ConversationHandler(
            entry_points=[CommandHandler("limit", ask_limit)],
            states={LIMIT: [MessageHandler(filters.Regex(r"^\d+$"), set_limit)]},
            fallbacks=[CommandHandler("cancel", cancel)],
        )
    )
    app.job_queue.run_repeating(report, interval=1, first=1)
    run(app)


if __name__ == "__main__":
    main()
