%% Suspend, load, change_code, resume: how long the process of live.erl is held, in ns, one line a time.
-module(swap).
-export([main/1]).

main([Count, Times, First, Second]) ->
    {ok, One} = file:read_file(First ++ "/live.beam"),
    {ok, Two} = file:read_file(Second ++ "/live.beam"),
    {module, live} = code:load_binary(live, "live.beam", One),
    {ok, Pid} = live:start(list_to_integer(Count)),
    again(Pid, list_to_integer(Times), Two, One),
    halt().

again(_Pid, 0, _Next, _Other) -> ok;
again(Pid, Times, Next, Other) ->
    Before = gen_server:call(Pid, version),
    Began = erlang:monotonic_time(nanosecond),
    ok = sys:suspend(Pid),
    code:purge(live),
    {module, live} = code:load_binary(live, "live.beam", Next),
    ok = sys:change_code(Pid, live, Before, []),
    ok = sys:resume(Pid),
    Ended = erlang:monotonic_time(nanosecond),
    %% It has to be the other code that answers, or nothing was measured.
    true = gen_server:call(Pid, version) =/= Before,
    io:format("~b~n", [Ended - Began]),
    timer:sleep(10),
    again(Pid, Times - 1, Other, Next).
