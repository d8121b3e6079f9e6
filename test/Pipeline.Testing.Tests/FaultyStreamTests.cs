using CsCheck;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Testing.Tests;

[CancelAfter(60_000)]
public sealed class FaultyStreamTests
{
    private const int Length = 20_000;

    private static readonly byte[] Sent = [.. Enumerable.Range(0, Length).Select(i => (byte)(i * 7))];

    private static readonly Gen<FaultPlan> Plans = Gen.Select(
        Gen.Int,
        Gen.Int[1, 3000].Nullable(),
        Gen.Long[100, 10_000].Nullable(),
        Gen.Long[100, 10_000].Nullable(),
        Gen.Long[100, 10_000].Nullable(),
        Gen.Long[100, 10_000].Nullable(),
        Gen.Long[5000, 40_000].Nullable(),
        (seed, split, drop, corrupt, delay, stall, cut) => new FaultPlan
        {
            Seed = seed,
            SplitWithin = split,
            DropEvery = drop,
            CorruptEvery = corrupt,
            DelayEvery = delay,
            StallEvery = stall,
            CutEvery = cut,
            Script = [Fault.Corrupt(Length - 1), Fault.Drop(5, 2), Fault.Split(0)],
        });

    [Test]
    public Task The_same_plan_does_the_same_to_the_same_bytes_in_whatever_pieces_they_go(CancellationToken cancellationToken) =>
        Gen.Select(Plans, Gen.Bool, Gen.Int).SampleAsync(
            async (plan, isIncoming, sizes) =>
            {
                (byte[] read, IReadOnlyList<InjectedFault> faults) = await PassAsync(plan, isIncoming, new Random(sizes), cancellationToken);
                (byte[] again, IReadOnlyList<InjectedFault> sameFaults) = await PassAsync(plan, isIncoming, new Random(~sizes), cancellationToken);

                Assert.That(sameFaults.Select(injected => injected.Fault), Is.EqualTo(faults.Select(injected => injected.Fault)));
                Assert.That(again.AsSpan().SequenceEqual(read), Is.True);
                Assert.That(read.AsSpan().SequenceEqual(Apply(faults)), Is.True, "what was recorded is what happened");
                Assert.That(faults.Select(injected => injected.Direction), Is.All.EqualTo(isIncoming ? FaultDirection.Incoming : FaultDirection.Outgoing));
                Assert.That(faults.Select(injected => injected.Fault.Position), Is.Ordered);
            },
            iter: 300);

    [Test]
    public async Task Faults_are_about_as_frequent_as_the_plan_says([Values] bool isIncoming, CancellationToken cancellationToken)
    {
        FaultPlan plan = new() { Seed = 1, SplitWithin = 100, DropEvery = 400, MaxDropLength = 10, CorruptEvery = 200, DelayEvery = 500, StallEvery = 1000 };

        (_, IReadOnlyList<InjectedFault> faults) = await PassAsync(plan, isIncoming, new Random(1), cancellationToken);

        int Count(FaultKind kind) => faults.Count(injected => injected.Fault.Kind == kind);
        Assert.That(Count(FaultKind.Split), Is.InRange(500, 1500));
        Assert.That(Count(FaultKind.Drop), Is.InRange(30, 75));
        Assert.That(Count(FaultKind.Corrupt), Is.InRange(70, 135));
        Assert.That(Count(FaultKind.Delay), Is.InRange(25, 60));
        Assert.That(Count(FaultKind.Stall), Is.InRange(10, 35));
    }

    [Test]
    public async Task Both_directions_and_another_seed_have_other_places(CancellationToken cancellationToken)
    {
        FaultPlan plan = new() { Seed = 1, CorruptEvery = 500 };

        (byte[] incoming, _) = await PassAsync(plan, isIncoming: true, new Random(1), cancellationToken);
        (byte[] outgoing, _) = await PassAsync(plan, isIncoming: false, new Random(1), cancellationToken);
        (byte[] seeded, _) = await PassAsync(plan with { Seed = 2 }, isIncoming: true, new Random(1), cancellationToken);

        Assert.That(incoming, Is.Not.EqualTo(outgoing).And.Not.EqualTo(seeded));
    }

    [Test]
    public async Task Bytes_that_are_delayed_come_when_their_time_is_over_and_hold_up_those_behind(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        (MemoryDuplex a, MemoryDuplex b) = MemoryDuplex.CreatePair();
        await using FaultyStream faulty = new(b, new FaultPlan { Script = [Fault.Delay(10, TimeSpan.FromSeconds(5))] }, timeProvider: time);
        await a.WriteAsync(Sent.AsMemory(0, 10), cancellationToken);
        byte[] read = new byte[100];
        Assert.That(await faulty.ReadAsync(read, cancellationToken), Is.EqualTo(10));
        time.Advance(TimeSpan.FromSeconds(60));
        Assert.That(faulty.Faults, Is.Empty, "the byte has not come yet");

        await a.WriteAsync(Sent.AsMemory(10, 10), cancellationToken);
        Task<int> reading = faulty.ReadAsync(read.AsMemory(10), cancellationToken).AsTask();
        Assert.That(faulty.Faults.Single().Time, Is.EqualTo(time.GetUtcNow()));
        time.Advance(TimeSpan.FromSeconds(5) - TimeSpan.FromTicks(1));
        Assert.That(reading.IsCompleted, Is.False);
        time.Advance(TimeSpan.FromTicks(1));

        Assert.That(await reading, Is.EqualTo(10));
        Assert.That(read.AsSpan(0, 20).SequenceEqual(Sent.AsSpan(0, 20)), Is.True);
    }

    [Test]
    public async Task A_write_waits_while_its_bytes_are_delayed(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        (MemoryDuplex a, MemoryDuplex b) = MemoryDuplex.CreatePair();
        await using FaultyStream faulty = new(a, null, new FaultPlan { Script = [Fault.Delay(3, TimeSpan.FromSeconds(5))] }, time);

        Task writing = faulty.WriteAsync(new byte[5], cancellationToken).AsTask();

        Assert.That(await b.ReadAsync(new byte[9], cancellationToken), Is.EqualTo(3));
        Assert.That(writing.IsCompleted, Is.False);
        time.Advance(TimeSpan.FromSeconds(5));
        await writing;
        Assert.That(await b.ReadAsync(new byte[9], cancellationToken), Is.EqualTo(2));
    }

    [Test]
    public async Task Nothing_passes_in_either_direction_while_a_stream_stalls(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        (MemoryDuplex a, MemoryDuplex b) = MemoryDuplex.CreatePair();
        await using FaultyStream faulty = new(a, null, new FaultPlan { Script = [Fault.Stall(3, TimeSpan.FromSeconds(5))] }, time);
        Task<int> reading = faulty.ReadAsync(new byte[9], cancellationToken).AsTask();

        Task writing = faulty.WriteAsync(new byte[5], cancellationToken).AsTask();
        await b.WriteAsync(new byte[2], cancellationToken);

        time.Advance(TimeSpan.FromSeconds(4.999));
        Assert.That((b.BytesWritten, a.BytesWritten, writing.IsCompleted, reading.IsCompleted), Is.EqualTo((2L, 3L, false, false)));
        time.Advance(TimeSpan.FromSeconds(0.001));
        await writing;
        Assert.That(await reading, Is.EqualTo(2));
    }

    [Test]
    public async Task What_is_held_back_when_a_read_is_cancelled_comes_with_a_later_one(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        (MemoryDuplex a, MemoryDuplex b) = MemoryDuplex.CreatePair();
        await using FaultyStream faulty = new(b, new FaultPlan { Script = [Fault.Delay(0, TimeSpan.FromSeconds(5)), Fault.Cut(5)] }, timeProvider: time);
        await a.WriteAsync(Sent.AsMemory(0, 9), cancellationToken);
        for (int i = 0; i < 3; i++)
        {
            using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            Task cancelled = faulty.ReadAsync(new byte[4 - i], cancel.Token).AsTask();
            await cancel.CancelAsync();
            await Assert.CatchAsync<OperationCanceledException>(() => cancelled);
        }

        time.Advance(TimeSpan.FromSeconds(5));

        byte[] read = new byte[5];
        await faulty.ReadExactlyAsync(read, cancellationToken);
        Assert.That(read, Is.EqualTo(Sent[..5]));
        Assert.That(faulty.Faults.Select(injected => injected.Fault.Kind), Is.EqualTo([FaultKind.Delay, FaultKind.Cut]));
    }

    [Test]
    public async Task A_cut_ends_everything_and_says_where([Values] bool isIncoming, CancellationToken cancellationToken)
    {
        (MemoryDuplex a, MemoryDuplex b) = MemoryDuplex.CreatePair();
        FaultPlan plan = new() { Script = [Fault.Cut(4), Fault.Cut(2), Fault.Stall(1, TimeSpan.FromDays(1))] };
        InstantTime time = new();
        await using FaultyStream faulty = isIncoming ? new(b, plan, timeProvider: time) : new(b, null, plan, time);
        Task pending = isIncoming ? faulty.WriteAsync(new byte[100_000], cancellationToken).AsTask() : faulty.ReadAsync(new byte[9], cancellationToken).AsTask();
        await (isIncoming ? a.WriteAsync(new byte[9], cancellationToken) : ValueTask.CompletedTask);
        Task striking = isIncoming ? PassAllAsync() : faulty.WriteAsync(new byte[9], cancellationToken).AsTask();

        string reason = $"The connection was cut after 2 bytes had {(isIncoming ? "come" : "gone")}.";
        Assert.That((await Assert.ThrowsAsync<IOException>(() => pending))!.Message, Is.EqualTo(reason));
        Assert.That((await Assert.ThrowsAsync<IOException>(() => striking))!.Message, Is.EqualTo(reason));
        await Assert.ThrowsAsync<IOException>(() => faulty.ReadAsync(new byte[1], cancellationToken).AsTask());
        await Assert.ThrowsAsync<IOException>(() => faulty.WriteAsync(new byte[1], cancellationToken).AsTask());
        Assert.That(b.IsDisposed, Is.True);
        Assert.That(faulty.Faults.Select(injected => injected.Fault), Is.EqualTo([Fault.Stall(1, TimeSpan.FromDays(1)), Fault.Cut(2)]));

        async Task PassAllAsync()
        {
            while (true)
            {
                await faulty.ReadAtLeastAsync(new byte[9], 1, cancellationToken: cancellationToken);
            }
        }
    }

    [Test]
    public async Task A_stream_that_is_closed_while_bytes_are_held_back_ends_the_wait(CancellationToken cancellationToken)
    {
        (MemoryDuplex a, MemoryDuplex b) = MemoryDuplex.CreatePair();
        FaultyStream faulty = new(b, new FaultPlan { Script = [Fault.Delay(0, TimeSpan.FromDays(1))] }, timeProvider: new FakeTimeProvider());
        await a.WriteAsync(new byte[1], cancellationToken);
        Task reading = faulty.ReadAsync(new byte[1], cancellationToken).AsTask();

        await faulty.DisposeAsync();

        await Assert.ThrowsAsync<ObjectDisposedException>(() => reading);
    }

    [TestCase(FaultKind.Corrupt, HandshakeFailure.FrameNotAuthentic)]
    [TestCase(FaultKind.Cut, HandshakeFailure.ConnectionClosed)]
    [TestCase(FaultKind.Split, null)]
    public async Task A_secret_connection_notices_what_happens_beneath_it(FaultKind kind, HandshakeFailure? failure, CancellationToken cancellationToken)
    {
        Fault fault = kind switch
        {
            FaultKind.Corrupt => Fault.Corrupt(100, 0x80),
            FaultKind.Cut => Fault.Cut(100),
            _ => Fault.Split(100),
        };
        (MemoryDuplex a, MemoryDuplex b) = MemoryDuplex.CreatePair();
        await using FaultyStream faulty = new(b, new FaultPlan { Script = [fault] });
        using NodeKey keyA = NodeKey.Create(), keyB = NodeKey.Create();
        Task<SecretConnection> other = SecretConnection.EstablishAsync(a, keyA, cancellationToken: cancellationToken);

        if (failure is null)
        {
            await using SecretConnection connection = await SecretConnection.EstablishAsync(faulty, keyB, cancellationToken: cancellationToken);
            await using SecretConnection remote = await other;
            await connection.CompleteWritesAsync();
            Assert.That(await remote.ReadAsync(new byte[1], cancellationToken), Is.Zero, "the end goes through");
        }
        else
        {
            Task<SecretConnection> connecting = SecretConnection.EstablishAsync(faulty, keyB, cancellationToken: cancellationToken);
            Assert.That((await Assert.ThrowsAsync<HandshakeException>(() => connecting))!.Failure, Is.EqualTo(failure));
            await ((Task)other).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await a.DisposeAsync();
        }

        Assert.That(faulty.Faults.Single().Fault, Is.EqualTo(fault));
    }

    [Test]
    public void A_plan_or_fault_that_makes_no_sense_is_refused()
    {
        Assert.That(() => new FaultPlan { CutEvery = 0 }, Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => new FaultPlan { SplitWithin = 0 }, Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => new FaultPlan { MaxDelay = TimeSpan.Zero }, Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => Fault.Drop(0, 0), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => Fault.Corrupt(0, 0), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => Fault.Cut(-1), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => Fault.Stall(0, TimeSpan.Zero), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    // All of Sent fits between both ends, so that nobody waits for the other.
    private static async Task<(byte[] Read, IReadOnlyList<InjectedFault> Faults)> PassAsync(
        FaultPlan plan,
        bool isIncoming,
        Random sizes,
        CancellationToken cancellationToken)
    {
        InstantTime time = new();
        (MemoryDuplex a, MemoryDuplex b) = MemoryDuplex.CreatePair();
        await using FaultyStream faulty = isIncoming ? new(b, plan, timeProvider: time) : new(a, null, plan, time);
        Stream writer = isIncoming ? a : faulty, reader = isIncoming ? faulty : b;
        using MemoryStream read = new();
        try
        {
            for (int at = 0, count; at < Length; at += count)
            {
                count = Math.Min(NextSize(), Length - at);
                await writer.WriteAsync(Sent.AsMemory(at, count), cancellationToken);
            }

            IHalfClosable.TryCompleteWrites(writer);
        }
        catch (IOException) when (faulty.Faults[^1].Fault.Kind == FaultKind.Cut)
        {
        }

        try
        {
            byte[] buffer = new byte[1 << 16];
            while (await reader.ReadAsync(buffer.AsMemory(0, NextSize()), cancellationToken) is > 0 and int count)
            {
                read.Write(buffer, 0, count);
            }
        }
        catch (IOException) when (faulty.Faults[^1].Fault.Kind == FaultKind.Cut)
        {
        }

        return (read.ToArray(), faulty.Faults);

        int NextSize() => sizes.Next(1, 1 << sizes.Next(1, 17));
    }

    // What some faults leave of Sent.
    private static byte[] Apply(IReadOnlyList<InjectedFault> faults)
    {
        byte[] bytes = [.. Sent];
        bool[] isDropped = new bool[Length];
        int end = Length;
        foreach (Fault fault in faults.Select(injected => injected.Fault))
        {
            switch (fault.Kind)
            {
                case FaultKind.Corrupt:
                    bytes[fault.Position] ^= fault.Mask;
                    break;
                case FaultKind.Drop:
                    isDropped.AsSpan((int)fault.Position, (int)Math.Min(fault.Length, Length - fault.Position)).Fill(true);
                    break;
                case FaultKind.Cut:
                    end = (int)fault.Position;
                    break;
            }
        }

        return [.. bytes.Take(end).Where((_, i) => !isDropped[i])];
    }
}
