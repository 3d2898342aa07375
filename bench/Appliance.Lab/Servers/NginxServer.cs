using System.Globalization;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Appliance.Lab.Net;

namespace Appliance.Lab.Servers;

/// <summary>What an nginx of the lab is to serve.</summary>
public sealed record NginxOptions
{
    public int Port { get; init; } = 80;

    /// <summary>Name and size of the files that are made, with content of their own.</summary>
    public IReadOnlyDictionary<string, long> Files { get; init; } = new Dictionary<string, long>(StringComparer.Ordinal);

    /// <summary>Names for each of which a TLS server with a certificate of its own answers on <see cref="TlsPort"/>.</summary>
    public IReadOnlyList<string> TlsNames { get; init; } = [];

    public int TlsPort { get; init; } = 443;

    public int Workers { get; init; } = 1;

    /// <summary>Servers with the same value make the same content; null gives each server its own.</summary>
    public string? Seed { get; init; }

    /// <summary>Expect a PROXY protocol header on plain connections.</summary>
    public bool ProxyProtocol { get; init; }
}

/// <summary>
/// A real nginx in a host, with a generated configuration in a directory of its own: static files of known SHA-256,
/// uploads by PUT to /put/, and TLS servers told apart by SNI, whose answer to any request is their name.
/// </summary>
public sealed class NginxServer
{
    private readonly Dictionary<string, string> _sha256 = new(StringComparer.Ordinal);

    private NginxServer(LabProcess process, string directory)
    {
        Process = process;
        Directory = directory;
    }

    public LabProcess Process { get; }

    public string Directory { get; }

    /// <summary>SHA-256 (lower-case hex) of each file made.</summary>
    public IReadOnlyDictionary<string, string> Sha256 => _sha256;

    /// <summary>The client address of every plain request so far, as the PROXY header gave it, else as the connection has it.</summary>
    public IReadOnlyList<string> ClientAddresses => File.Exists(AccessLog(Directory)) ? File.ReadAllLines(AccessLog(Directory)) : [];

    /// <summary>Where an upload to /put/SEED is stored.</summary>
    public string UploadedFile(ulong seed) => Path.Combine(Directory, "put", seed.ToString(CultureInfo.InvariantCulture));

    /// <summary>Makes the files, starts nginx and waits until it listens.</summary>
    public static NginxServer Start(Host host, NginxOptions options)
    {
        string directory = host.DirectoryFor("nginx");
        string root = Path.Combine(directory, "www");
        LabNative.AllowAll(System.IO.Directory.CreateDirectory(root).FullName);
        LabNative.AllowAll(System.IO.Directory.CreateDirectory(Path.Combine(directory, "put")).FullName);
        LabNative.AllowAll(System.IO.Directory.CreateDirectory(Path.Combine(directory, "tmp")).FullName);
        foreach (string name in options.TlsNames)
        {
            MakeCertificate(directory, name);
        }
        string file = Path.Combine(directory, "nginx.conf");
        File.WriteAllText(file, Configuration(host, options, directory));
        var sums = options.Files.ToDictionary(f => f.Key, f => MakeFile(Path.Combine(root, f.Key), f.Value, options.Seed ?? host.Namespace), StringComparer.Ordinal);
        var process = host.Start(new ProcessSpec("nginx", "nginx", "-p", directory, "-c", file, "-e", "stderr"));
        var server = new NginxServer(process, directory);
        foreach (var (name, sum) in sums)
        {
            server._sha256[name] = sum;
        }
        host.WaitForListener(options.Port, TimeSpan.FromSeconds(10), process);
        return server;
    }

    private static string AccessLog(string directory) => Path.Combine(directory, "access.log");

    private static string Configuration(Host host, NginxOptions o, string directory)
    {
        string proxy = o.ProxyProtocol ? " proxy_protocol" : string.Empty;
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $$"""
            daemon off;
            user nobody nogroup;
            worker_processes {{o.Workers}};
            pid {{directory}}/nginx.pid;
            worker_rlimit_nofile 65536;
            events { worker_connections 16384; multi_accept on; }
            http {
                log_format address '{{(o.ProxyProtocol ? "$proxy_protocol_addr" : "$remote_addr")}}';
                access_log off;
                sendfile on;
                tcp_nopush on;
                tcp_nodelay on;
                keepalive_timeout 300;
                keepalive_requests 1000000000;
                client_max_body_size 0;
                client_body_temp_path {{directory}}/tmp;
                open_file_cache max=1000;
                default_type application/octet-stream;
                server {
                    listen {{o.Port}} backlog=8192{{proxy}};
                    listen [::]:{{o.Port}} backlog=8192{{proxy}};
                    add_header Server-Name {{host.Name}} always;
                    {{(o.ProxyProtocol ? $"access_log {AccessLog(directory)} address;" : string.Empty)}}
                    root {{directory}}/www;
                    location = /health { return 200 "ok\n"; }
                    location = /name { return 200 "{{host.Name}}\n"; }
                    location /put/ { root {{directory}}; dav_methods PUT; create_full_put_path on; }
                }

            """);
        foreach (string name in o.TlsNames)
        {
            text.Append(CultureInfo.InvariantCulture, $$"""
                    server {
                        listen {{o.TlsPort}} ssl;
                        listen [::]:{{o.TlsPort}} ssl;
                        server_name {{name}};
                        ssl_certificate {{directory}}/{{name}}.pem;
                        ssl_certificate_key {{directory}}/{{name}}.pem;
                        add_header Server-Name {{host.Name}} always;
                        location = /sni { return 200 "{{name}}\n"; }
                        location / { root {{directory}}/www; }
                    }

                """);
        }
        return text.Append("}\n").ToString();
    }

    private static string MakeFile(string path, long size, string content)
    {
        ulong seed = BitConverter.ToUInt64(SHA256.HashData(Encoding.UTF8.GetBytes(content + Path.GetFileName(path))));
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var file = File.Create(path);
        byte[] piece = new byte[(int)Math.Min(size, 1 << 20)];
        for (long done = 0; done < size;)
        {
            var part = piece.AsSpan(0, (int)Math.Min(piece.Length, size - done));
            Pattern.Fill(part, seed, done);
            hash.AppendData(part);
            file.Write(part);
            done += part.Length;
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static void MakeCertificate(string directory, string name)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName(name);
        request.CertificateExtensions.Add(names.Build());
        using var certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(30));
        File.WriteAllText(Path.Combine(directory, name + ".pem"), certificate.ExportCertificatePem() + "\n" + key.ExportPkcs8PrivateKeyPem() + "\n");
    }
}
