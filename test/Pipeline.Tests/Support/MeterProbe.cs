using System.Diagnostics.Metrics;
using Pipeline.Cryptography;
using Pipeline.Diagnostics;

namespace Pipeline.Tests.Support;

/// <summary>Listens to the meter of one node.</summary>
internal sealed class MeterProbe : IDisposable
{
    private readonly Lock _gate = new();
    private readonly MeterListener _listener = new();
    private readonly Dictionary<string, double> _counted = [];
    private Dictionary<string, double> _observed = [];

    public MeterProbe(NodeId node)
    {
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter.Name == PipelineDiagnostics.MeterName && instrument.Meter.Tags!.Contains(new("node_id", node.ToString())))
            {
                Instruments.Add(instrument);
                listener.EnableMeasurementEvents(instrument);
            }
        };
        _listener.MeasurementsCompleted = (_, _) => Ended++;
        _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Take(instrument, value, tags));
        _listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Take(instrument, value, tags));
        _listener.Start();
    }

    public List<Instrument> Instruments { get; } = [];

    /// <summary>How many instruments have ended.</summary>
    public int Ended { get; private set; }

    /// <summary>Everything that is measured, as <c>name{tag=value,…}</c>; what is counted when it happens, all in all.</summary>
    public Dictionary<string, double> Collect()
    {
        _observed = [];
        _listener.RecordObservableInstruments();
        lock (_gate)
        {
            return _observed.Concat(_counted).ToDictionary();
        }
    }

    /// <summary>One value, see <see cref="Collect()"/>.</summary>
    public double Collect(string name) => Collect()[name];

    public void Dispose() => _listener.Dispose();

    private void Take(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        string name = $"{instrument.Name}{{{string.Join(',', tags.ToArray().Select(tag => $"{tag.Key}={tag.Value}"))}}}";
        lock (_gate)
        {
            if (instrument.IsObservable)
            {
                _observed.Add(name, value);
            }
            else
            {
                _counted[name] = _counted.GetValueOrDefault(name) + value;
            }
        }
    }
}
