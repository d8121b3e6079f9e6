namespace Pipeline.Experiments.Flooding;

/// <summary>What the connections of a flood do once they are there.</summary>
internal enum FloodKind
{
    /// <summary>Nothing.</summary>
    Silent,

    /// <summary>They send bytes that mean nothing.</summary>
    Garbage,

    /// <summary>They send an ephemeral key, as at the beginning of a handshake, and then nothing more.</summary>
    HalfHandshake,
}

/// <summary>A flood of connections. All stay until the other side closes them; every fourth says that it will send no more.</summary>
/// <param name="Kind">What they do.</param>
/// <param name="Port">Where to, on 127.0.0.1.</param>
/// <param name="Connections">How many there are.</param>
/// <param name="Sources">How many addresses they come from, from 127.66.0.1 on; 1 to 65,000.</param>
/// <param name="Seconds">In how many seconds they are made, if the machine can; evenly spread.</param>
/// <param name="Seed">What garbage depends on.</param>
internal sealed record Flood(FloodKind Kind, int Port, int Connections, int Sources, double Seconds, int Seed);

/// <summary>What the attacker saw of a flood.</summary>
/// <param name="Connected">Connections that were made.</param>
/// <param name="Failed">Connections that could not be made.</param>
/// <param name="MostOpen">The most that were open at once.</param>
/// <param name="Seconds">How long it took to make them all.</param>
/// <param name="UntilClosed">How long it took until the last of them was closed by the other side.</param>
/// <param name="ProcessorSeconds">What all of that cost the attacker.</param>
internal sealed record FloodOutcome(int Connected, int Failed, int MostOpen, double Seconds, double UntilClosed, double ProcessorSeconds);
