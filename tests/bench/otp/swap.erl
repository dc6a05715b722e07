%% Suspend, load, change_code, resume: how long the process of live.erl is held. `erl -run swap main FIRST SECOND N:TIMES ...`
%% has live.beam of each version in the directories FIRST and SECOND, and prints a line `N NS` for each time.
-module(swap).
-export([main/1]).

main([First, Second | Wanted]) ->
    {ok, One} = file:read_file(First ++ "/live.beam"),
    {ok, Two} = file:read_file(Second ++ "/live.beam"),
    lists:foreach(fun(Each) ->
        [Count, Times] = [list_to_integer(Number) || Number <- string:split(Each, ":")],
        code:purge(live),
        {module, live} = code:load_binary(live, "live.beam", One),
        {ok, Pid} = live:start(Count),
        again(Pid, Count, Times, Two, One),
        ok = gen_server:stop(Pid)
    end, Wanted),
    halt().

again(_Pid, _Count, 0, _Next, _Other) -> ok;
again(Pid, Count, Times, Next, Other) ->
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
    io:format("~b ~b~n", [Count, Ended - Began]),
    timer:sleep(10),
    again(Pid, Count, Times - 1, Other, Next).
