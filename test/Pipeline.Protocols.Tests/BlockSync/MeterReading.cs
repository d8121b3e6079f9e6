using System.Diagnostics.Metrics;

namespace Pipeline.Protocols.Tests.BlockSync;

/// <summary>Makes the meter of one node, and reads it.</summary>
internal sealed class MeterReading : IMeterFactory
{
    private readonly MeterListener _listener = new();
    private readonly List<Meter> _meters = [];
    private readonly List<(string Instrument, string Kind, long Value)> _read = [];

    public MeterReading()
    {
        _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
            _read.Add((instrument.Name, tags.ToArray().Where(tag => tag.Key != "chain_id").Select(tag => tag.Value?.ToString()).SingleOrDefault() ?? "", value)));
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (_meters.Contains(instrument.Meter))
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
    }

    public Meter Create(MeterOptions options)
    {
        Meter meter = new(options);
        _meters.Add(meter);
        return meter;
    }

    /// <summary>What an instrument shows, by its tag, which is empty when there is none but the network.</summary>
    public Dictionary<string, long> Read(string instrument)
    {
        _listener.Start();
        _read.Clear();
        _listener.RecordObservableInstruments();
        return _read.Where(read => read.Instrument == instrument).ToDictionary(read => read.Kind, read => read.Value);
    }

    public void Dispose()
    {
        _listener.Dispose();
        _meters.ForEach(static meter => meter.Dispose());
    }
}
