using Appliance;

return ApplianceCommandLine.Invoke(args, new Terminal(Console.Out, Console.Error), Composition.Default());
