using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Draining;

/// <summary>A way to bring messages over loopback TCP from one end to the other, both in this process.</summary>
internal abstract class Contender
{
    /// <summary>Its name in tables and plots.</summary>
    public abstract string Name { get; }

    /// <summary>Makes a connection, brings everything over it, and closes it.</summary>
    public abstract Task<Drained> CarryAsync(RunContext context, Load load);
}
