using System.Collections.Concurrent;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cli.Demo;
using Pipeline.Cli.Traces;
using Pipeline.Dataflow;

namespace Pipeline.Cli.Tests.Demo;

[TestFixture, FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
public sealed class ReplayTests : IDisposable
{
    private static readonly ChannelDescriptor Channel = new(0x22, "votes");

    private readonly ObservedTime _time = new();
    private readonly BlockingCollection<(int Peer, double Milliseconds)> _sent = [];

    public void Dispose()
    {
        _time.Dispose();
        _sent.Dispose();
    }

    [Test, CancelAfter(30_000)]
    public async Task Messages_are_sent_at_the_recorded_pace_times_the_speed(CancellationToken cancellationToken)
    {
        Task<string?> replay = RunAsync(new ReplayPace(Speed: 5, Duration: null), TakeAsync, cancellationToken, [0, 500, 1_000]);

        Assert.That(_sent.Take(cancellationToken), Is.EqualTo((0, 0.0)));
        foreach (double due in new[] { 100.0, 200.0 })
        {
            await _time.Timers.WaitAsync(cancellationToken);
            _time.Advance(TimeSpan.FromMilliseconds(99));
            Assert.That(_sent, Is.Empty);
            _time.Advance(TimeSpan.FromMilliseconds(1));
            Assert.That(_sent.Take(cancellationToken), Is.EqualTo((0, due)));
        }

        Assert.That(await replay, Is.Null);
    }

    [Test, CancelAfter(30_000)]
    public async Task At_the_greatest_speed_nothing_waits_for_its_time(CancellationToken cancellationToken)
    {
        Assert.That(await RunAsync(new ReplayPace(ReplayPace.Max, Duration: null), TakeAsync, cancellationToken, [0, 1_000, 80_000_000]), Is.Null);
        Assert.That(_sent, Is.EqualTo(new[] { (0, 0.0), (0, 0.0), (0, 0.0) }));
    }

    [Test, CancelAfter(30_000)]
    public async Task What_is_due_after_the_duration_is_not_sent(CancellationToken cancellationToken)
    {
        Task<string?> replay = RunAsync(
            new ReplayPace(Speed: 10, Duration: TimeSpan.FromMilliseconds(100)),
            TakeAsync,
            cancellationToken,
            [0, 990, 1_000]);
        await _time.Timers.WaitAsync(cancellationToken);
        _time.Advance(TimeSpan.FromMilliseconds(99));

        Assert.That(await replay, Is.Null);
        Assert.That(_sent.Select(s => s.Milliseconds), Is.EqualTo(new[] { 0.0, 99.0 }));
    }

    [Test, CancelAfter(30_000)]
    public async Task At_the_greatest_speed_sending_ends_when_the_duration_is_over(CancellationToken cancellationToken)
    {
        await RunAsync(new ReplayPace(ReplayPace.Max, Duration: TimeSpan.FromMilliseconds(100)), TakeForAWhileAsync, cancellationToken, [.. new int[50]]);

        Assert.That(_sent.Select(s => s.Milliseconds), Is.EqualTo(new[] { 0.0, 30.0, 60.0, 90.0 }));

        Task<string?> TakeForAWhileAsync(ReplayLane lane, ReadOnlyMemory<byte> data, CancellationToken stop)
        {
            Task<string?> taken = TakeAsync(lane, data, stop);
            _time.Advance(TimeSpan.FromMilliseconds(30));
            return taken;
        }
    }

    [Test, CancelAfter(30_000)]
    public async Task A_full_lane_does_not_hold_up_the_others(CancellationToken cancellationToken)
    {
        TaskCompletionSource<string?> room = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Task<string?> replay = RunAsync(
            new ReplayPace(ReplayPace.Max, Duration: null),
            (lane, data, stop) => lane.Peer == 0 ? room.Task : TakeAsync(lane, data, stop),
            cancellationToken,
            [0],
            [0, 0, 0]);

        for (int i = 0; i < 3; i++)
        {
            Assert.That(_sent.Take(cancellationToken).Peer, Is.EqualTo(1));
        }

        Assert.That(replay.IsCompleted, Is.False);
        room.SetResult(null);
        Assert.That(await replay, Is.Null);
    }

    [Test, CancelAfter(30_000)]
    public async Task A_refused_message_ends_the_replay_with_the_reason(CancellationToken cancellationToken)
    {
        string? reason = await RunAsync(
            new ReplayPace(Speed: 1, Duration: null),
            static (lane, _, _) => Task.FromResult(lane.Peer == 1 ? "it is gone" : null),
            cancellationToken,
            [0, 60_000],
            [0, 60_000]);

        Assert.That(reason, Is.EqualTo("it is gone"));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_cancelled_replay_ends_while_it_waits(CancellationToken cancellationToken)
    {
        using CancellationTokenSource interrupt = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<string?> replay = RunAsync(new ReplayPace(Speed: 1, Duration: null), TakeAsync, interrupt.Token, [0, 60_000]);
        await _time.Timers.WaitAsync(cancellationToken);

        await interrupt.CancelAsync();

        Assert.That(async () => await replay, Throws.InstanceOf<OperationCanceledException>());
    }

    [Test]
    public void The_slowest_speed_of_the_longest_trace_has_a_time_for_everything() =>
        Assert.That(new ReplayPace(ReplayPace.SlowestSpeed, null).DueAt(TraceReader.MaxTime), Is.EqualTo(TimeSpan.FromDays(1000)));

    private Task<string?> TakeAsync(ReplayLane lane, ReadOnlyMemory<byte> data, CancellationToken stop)
    {
        _sent.Add((lane.Peer, (_time.GetUtcNow() - _time.Start).TotalMilliseconds), stop);
        return Task.FromResult<string?>(null);
    }

    private Task<string?> RunAsync(ReplayPace pace, SendMessage send, CancellationToken cancellationToken, params int[][] lanesAt) =>
        new Replay(
            [
                .. lanesAt.Select((times, peer) => new ReplayLane(
                    peer,
                    Channel,
                    [.. times.Select(at => new TraceMessage(TimeSpan.FromMilliseconds(at), peer, Channel, new byte[] { 1 }))],
                    _time)),
            ],
            pace,
            _time).RunAsync(send, cancellationToken);

    /// <summary>Time that stands still until a test moves it, and says when somebody begins to wait for it.</summary>
    private sealed class ObservedTime : FakeTimeProvider, IDisposable
    {
        public SemaphoreSlim Timers { get; } = new(0);

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            ITimer timer = base.CreateTimer(callback, state, dueTime, period);
            Timers.Release();
            return timer;
        }

        public void Dispose() => Timers.Dispose();
    }
}
