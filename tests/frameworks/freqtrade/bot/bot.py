from neverblink.worker.adapters.freqtrade import trade as trade
