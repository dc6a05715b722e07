%% The bot in Erlang/OTP: a gen_server whose state is a map of N entries. Compiled twice; the second version's
%% code_change goes through all of them, as one does when a row gets a field.
-module(live).
-behaviour(gen_server).
-vsn(?VSN).
-export([start/1, init/1, handle_call/3, handle_cast/2, code_change/3]).

start(N) -> gen_server:start(?MODULE, N, []).

init(N) -> {ok, maps:from_list([{K, {K, 101.5, 102.25, 99.75, 100.0}} || K <- lists:seq(1, N)])}.

handle_call(version, _From, State) -> {reply, ?VSN, State}.

handle_cast(_Message, State) -> {noreply, State}.

code_change(_Old, State, _Extra) ->
    {ok, maps:map(fun(_Key, {At, Opened, Highest, Lowest, Closed}) -> {At, Opened, Highest, Lowest, Closed} end, State)}.
