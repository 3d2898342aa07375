using System.Globalization;

namespace Appliance.Lab.Measure;

/// <summary>Values of one quantity from several runs; printed as "median (least-most)".</summary>
public sealed class Spread
{
    private readonly List<double> _values = [];

    public IReadOnlyList<double> Values => _values;

    public double Median
    {
        get
        {
            var sorted = _values.Order().ToList();
            int middle = sorted.Count / 2;
            return sorted.Count == 0 ? double.NaN : sorted.Count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
        }
    }

    public void Add(double value) => _values.Add(value);

    public override string ToString() => _values.Count switch
    {
        0 => "-",
        1 => Text(_values[0]),
        _ => $"{Text(Median)} ({Text(_values.Min())}-{Text(_values.Max())})",
    };

    /// <summary>Three digits that count.</summary>
    private static string Text(double value)
    {
        int digits = value == 0 || Math.Abs(value) >= 100 ? 0 : Math.Abs(value) >= 10 ? 1 : Math.Abs(value) >= 1 ? 2 : 3;
        return value.ToString("N" + digits.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
    }
}
