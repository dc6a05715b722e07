from freqtrade.strategy import IStrategy


class Alternate(IStrategy):
    """Buys each pair with every candle, and sells it with the next iteration."""

    timeframe = "1m"
    minimal_roi = {"0": -1}
    stoploss = -0.5
    startup_candle_count = 5
    process_only_new_candles = True

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe["enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe
