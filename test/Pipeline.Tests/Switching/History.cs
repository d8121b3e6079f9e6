using CsCheck;
using Pipeline.Testing;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Switching;

/// <summary>What happens in a network of a few nodes, as far as a test says so: where nothing waits for the steps before it, threads decide.</summary>
/// <param name="Nodes">How many nodes there are.</param>
/// <param name="Seed">What follows from chance beside the steps: delays before dials, and places of faults.</param>
/// <param name="Latency">How many milliseconds bytes are on their way.</param>
/// <param name="Faults">What goes wrong with bytes.</param>
/// <param name="IsMesh">Whether all nodes are persistent peers of each other from the start, and not only those that steps make.</param>
/// <param name="End">How it ends.</param>
/// <param name="Steps">The steps.</param>
internal sealed record History(int Nodes, int Seed, int Latency, FaultLevel Faults, bool IsMesh, HistoryEnd End, Step[] Steps)
{
    private const int MaxNodes = 5;

    private static readonly Gen<Step> AnyStep = Gen.Select(
        Gen.Frequency(
            (10, Gen.Const(StepKind.Dial)),
            (6, Gen.Const(StepKind.CrossingDials)),
            (4, Gen.Const(StepKind.AddPersistentPeer)),
            (1, Gen.Const(StepKind.RemovePersistentPeer)),
            (5, Gen.Const(StepKind.Send)),
            (2, Gen.Const(StepKind.StopPeer)),
            (2, Gen.Const(StepKind.StopPeerGracefully)),
            (1, Gen.Const(StepKind.MarkBad)),
            (1, Gen.Const(StepKind.Ban)),
            (10, Gen.Const(StepKind.Misbehave)),
            (2, Gen.Const(StepKind.Cut)),
            (1, Gen.Const(StepKind.Sever)),
            (1, Gen.Const(StepKind.Part)),
            (2, Gen.Const(StepKind.Heal)),
            (1, Gen.Const(StepKind.StopSwitch)),
            (1, Gen.Const(StepKind.StopSwitchTwice)),
            (3, Gen.Const(StepKind.Restart)),
            (4, Gen.Const(StepKind.Settle)),
            (8, Gen.Const(StepKind.Advance))),
        Gen.Int[0, MaxNodes - 1],
        Gen.Int[1, MaxNodes - 1],
        Gen.Int[0, 1],
        Gen.Frequency((5, Gen.Int[(int)Callback.InitPeer, (int)Callback.RemovePeer].Select(callback => (Callback)callback)), (1, Gen.Enum<Callback>())),
        Gen.Frequency((3, Gen.Enum<Misbehaviour>()), (1, Gen.Const(Misbehaviour.NeverReturn)), (1, Gen.Const(Misbehaviour.Block))),
        Gen.OneOf(Gen.Int[1, 60], Gen.Int[100, 12_000], Gen.Int[10_000, 70_000]),
        (kind, node, distance, reactor, callback, misbehaviour, milliseconds) => new Step(kind, node, distance, reactor, callback, misbehaviour, milliseconds));

    public static Gen<History> Any { get; } = Gen.Select(
        Gen.Int[2, MaxNodes],
        Gen.Int,
        Gen.Frequency((2, Gen.Const(0)), (1, Gen.Const(5)), (1, Gen.Const(40))),
        Gen.Frequency((5, Gen.Const(FaultLevel.None)), (2, Gen.Const(FaultLevel.Harmless)), (2, Gen.Const(FaultLevel.Harmful))),
        Gen.Int[0, 2],
        Gen.Enum<HistoryEnd>(),
        AnyStep.Array[1, 45],
        (nodes, seed, latency, faults, mesh, end, steps) => new History(nodes, seed, latency, faults, IsMesh: mesh == 2, end, steps));

    public FaultPlan? FaultPlan => Faults switch
    {
        FaultLevel.None => null,
        FaultLevel.Harmless => new FaultPlan { Seed = Seed, SplitWithin = 2000, DelayEvery = 20_000, StallEvery = 40_000, MaxStall = TimeSpan.FromSeconds(8) },
        _ => new FaultPlan { Seed = Seed, SplitWithin = 2000, DelayEvery = 20_000, StallEvery = 40_000, DropEvery = 80_000, CorruptEvery = 80_000, CutEvery = 80_000 },
    };

    public override string ToString() =>
        $"{Nodes} nodes, seed {Seed}, latency {Latency} ms, faults {Faults}, {(IsMesh ? "a mesh, " : "")}end {End}: {string.Join("; ", Steps.Select(step => step.ToString(Nodes)))}";
}

/// <summary>What goes wrong with bytes.</summary>
internal enum FaultLevel
{
    None,

    /// <summary>They come in pieces, and late.</summary>
    Harmless,

    /// <summary>Some do not come, or come changed, or the connection breaks.</summary>
    Harmful,
}

/// <summary>How a history ends. Then all nodes stop.</summary>
internal enum HistoryEnd
{
    /// <summary>Everything works again, and nodes come to terms.</summary>
    Released,

    /// <summary>The network works again, and nodes come to terms, although reactors that have not returned do not.</summary>
    Stuck,

    /// <summary>At once.</summary>
    Sudden,
}

internal enum StepKind
{
    Dial,
    CrossingDials,
    AddPersistentPeer,
    RemovePersistentPeer,
    Send,
    StopPeer,
    StopPeerGracefully,
    MarkBad,
    Ban,
    Misbehave,
    Cut,
    Sever,
    Part,
    Heal,
    StopSwitch,
    StopSwitchTwice,
    Restart,
    Settle,
    Advance,
}

/// <summary>What a reactor does in a callback, once.</summary>
internal enum Misbehaviour
{
    ThrowAtOnce,
    ThrowLate,
    ThrowWhenGivenUp,
    ThrowTimeout,
    ThrowCancelled,
    ReturnLate,
    ReturnWhenGivenUp,
    NeverReturn,
    Block,
    WaitForToken,
    Send,
    Dial,
    StopPeer,
    StopPeerGracefully,
    MarkBad,
    StopSwitch,
    WaitForStopOfSwitch,
}

/// <summary>One step; what of it a kind does not need says nothing.</summary>
internal sealed record Step(StepKind Kind, int Node, int Distance, int Reactor, Callback Callback, Misbehaviour Misbehaviour, int Milliseconds)
{
    public TimeSpan Time => TimeSpan.FromMilliseconds(Milliseconds);

    public int NodeOf(int nodes) => Node % nodes;

    /// <summary>Another node.</summary>
    public int OtherOf(int nodes) => (NodeOf(nodes) + 1 + (Distance % (nodes - 1))) % nodes;

    public string ToString(int nodes) => Kind switch
    {
        StepKind.Settle or StepKind.Heal => $"{Kind}",
        StepKind.Advance => $"{Kind} {Milliseconds} ms",
        StepKind.Send or StepKind.StopSwitch or StepKind.StopSwitchTwice or StepKind.Restart or StepKind.Part => $"{Kind} {NodeOf(nodes)}",
        StepKind.Misbehave => $"{Misbehaviour} in {Callback} of reactor {Reactor} of {NodeOf(nodes)}",
        StepKind.MarkBad or StepKind.Ban => $"{Kind} {NodeOf(nodes)} {OtherOf(nodes)} {Milliseconds} ms",
        _ => $"{Kind} {NodeOf(nodes)} {OtherOf(nodes)}",
    };
}
